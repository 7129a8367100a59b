"""No test asserts how fast something is: a busy machine is no error."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
