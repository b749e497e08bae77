"""Batch processor for housing provident fund interest-subsidised loans (公转商贴息贷款)."""

__version__ = "1.0.0"

#: Version of the arithmetic. Raised whenever a stored line could come out differently; a night pins it (handbook section 6).
ENGINE_VERSION = "3"
