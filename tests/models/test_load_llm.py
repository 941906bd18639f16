import pytest
import torch

from speechllm.models.llm import load_llm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_output_projection_reads_contiguous_rows_whatever_is_kept_of_a_batch(llm_reference, dtype):
    llm = load_llm(llm_reference, dtype).eval()
    seen = []
    llm.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.append(args[0]))
    ids = torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    last = llm(input_ids=ids, logits_to_keep=1).logits
    assert seen[0].shape[:2] == (3, 1)
    assert seen[0].is_contiguous()
    torch.testing.assert_close(last, llm(input_ids=ids).logits[:, -1:])
