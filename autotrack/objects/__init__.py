"""Content-addressed files, and what is known of the bytes in them."""

from autotrack.objects.store import ObjectStore as ObjectStore
from autotrack.objects.store import Stored as Stored
