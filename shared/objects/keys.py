"""What the routes of objects find in the application."""

from aiohttp import web

from shared.access.roles import StoredRoles
from shared.login.logins import Logins
from shared.objects.encoded import EncodedObjects
from shared.objects.reader import ObjectReader
from shared.objects.service import Objects
from shared.objects.trail import Trail

OBJECTS = web.AppKey("objects", Objects)
ENCODED = web.AppKey("encoded", EncodedObjects)
READER = web.AppKey("reader", ObjectReader)
TRAIL = web.AppKey("trail", Trail)
LOGINS = web.AppKey("logins", Logins)
ROLES = web.AppKey("roles", StoredRoles)
