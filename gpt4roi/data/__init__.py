"""Region data: samples, one reader per data set, templates, mixture, collator.

Nothing here imports torch until `gpt4roi.data.collator` is imported.
"""

from gpt4roi.data.errors import DataError
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.readers import READERS, load_entry, load_mixture
from gpt4roi.data.sample import Sample
from gpt4roi.regions import Region

__all__ = ["READERS", "DataError", "Mixture", "Region", "Sample", "load_entry", "load_mixture"]
