import pytest
from small import build


@pytest.fixture(scope="module")
def built(encoder_reference, llm_reference):
    """An untrained model and its processor; not to be changed."""
    return build(encoder_reference, llm_reference)
