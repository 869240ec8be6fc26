"""Quality of every prefix, what each level holds, and a report of it all."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
