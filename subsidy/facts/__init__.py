"""Facts: what the centres and banks told us, each with when it was true, when it became known and where it came from."""

from subsidy.facts.hashing import bucket_of
from subsidy.facts.schema import BUCKETS, BY_CODE, TABLES, Facts, FactTable
from subsidy.facts.store import Segment, Store, Written
from subsidy.facts.view import load, view

__all__ = ["BUCKETS", "BY_CODE", "TABLES", "FactTable", "Facts", "Segment", "Store", "Written", "bucket_of", "load", "view"]
