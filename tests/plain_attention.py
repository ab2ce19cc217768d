"""What `models.ragged.ragged` is to return, on any device and in fp32; its kernel is for CUDA cards and 16 bits."""

from itertools import pairwise


def by_plain_sums(queries, keys, values, runs, scaling, *, causal=False, dropout=0.0):
    import torch

    assert dropout == 0
    repeats = queries.shape[1] // keys.shape[1]
    keys, values = (part.repeat_interleave(repeats, dim=1) for part in (keys, values))
    scaling = queries.shape[2] ** -0.5 if scaling is None else scaling
    outputs, sums = [], []
    for number, (first, last) in enumerate(pairwise(runs.queries.tolist())):
        begin, end = runs.keys[number : number + 2].tolist()
        end = end if runs.used is None else begin + int(runs.used[number])
        assert last - first <= runs.longest[0] and end - begin <= runs.longest[1]
        scores = torch.einsum("qhd,khd->hqk", queries[first:last], keys[begin:end]) * scaling
        if causal:
            later = torch.ones(last - first, end - begin, dtype=torch.bool).triu(end - begin - (last - first) + 1)
            scores = scores.masked_fill(later, -torch.inf)
        found = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values[begin:end])
        # A run without keys: zeros and infinity, as the kernel's.
        outputs.append(found if begin < end else torch.zeros_like(queries[first:last]))
        sums.append(scores.logsumexp(-1) if begin < end else torch.full(scores.shape[:2], torch.inf))
    return torch.cat(outputs), torch.cat(sums, dim=1)
