"""Capirca's and Aerleon's definitions and policies, read strictly and with places.

Read by a reader of our own rather than by Aerleon's: that one forgets the lines of a policy, passes
over what it doesn't know, and resolves names to addresses, which a global policy may not have.
"""
