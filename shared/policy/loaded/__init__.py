"""A site kept compiled: single changes in, what changes for each node out.

The planner of shared.policy.compile says what a site's documents mean; this package holds that
meaning ready and moves it along with each change.  What a change costs grows with what it touches
(the rules that use a name, the nodes that those concern), not with the site.

    source      documents as a store holds them, read as far as needed; definitions by name
    cells       what is computed: peers, sides, services, rules, policies
    bulk        all sides of a view at once, at load
    selecting   which selectors a change of labels may concern
    view        one chain's cells, made and changed
    owners      which nodes have which addresses
    nodes       one node: its rules in order, its sets, the sum behind its hash, its delta
    site        the whole: LoadedSite

Inheritance and the order of policies are those of shared.policy.inherit and compile; that the two
ways agree is held by tests over random edits.
"""
