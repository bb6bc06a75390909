"""How strongly a language model compresses one text, read from its last hidden states without a label.

Li et al. 2024, arXiv:2410.10672. R holds one row of d features per token. Centre it over tokens, scale every row to unit
length (X), and add up the largest column norms: MNN(X) = c_(1) + ... + c_(D), D = min(N, d). One pass over X, no spectrum.

The sum is not a norm of the matrix but of its columns: it depends on the coordinate axes, and equals the nuclear norm only
where the right singular vectors are the axes. The exact quantities stand beside it, and cost hardly more than it does once they
are taken on the small side: X Xᵀ (N x N) and Xᵀ X (d x d) have the same eigenvalues, but for zeros.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from scipy.linalg import blas, lapack
from torch import Tensor

BLOCK = 32  # rows at a time: a norm over a strided dimension takes up to twenty times as long
EXACT = 4_000_000  # entries up to which the arithmetic is done in float64; above it, float32


def matrix_nuclear_norm(
    hidden: Tensor,
    *,
    mask: Tensor | None = None,
    normalize: bool = True,
    d: int | None = None,
    per_token: bool = False,
) -> Tensor:
    """The sum of the D largest column norms.

    Args:
        hidden: (tokens, features), or (batch, tokens, features); any floating type.
        mask: (tokens,) or (batch, tokens), true where a token is; left out, every row counts.
        normalize: centre and scale the rows first, as the paper does; False takes `hidden` as X.
        d: how many columns are added up; min(tokens, features) unless given.
        per_token: divide by the number of tokens, as the official code does per text.

    Returns:
        A scalar, or (batch,). NaN where a centred row is zero (one token, or all rows equal): the score is not defined there.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, `d` out of range.
    """
    rows, counts = _rows(hidden, mask, normalize=normalize, check=normalize)
    norms = column_norms(rows)
    if not normalize:
        _check_finite(norms, rows)  # what the one pass over X tells anyway
    width = norms.shape[-1]
    if d is not None and not 1 <= d <= width:
        raise ValueError(f"d must be between 1 and {width} (the number of features), got {d}")
    sums = [
        c.topk(min(int(n), width) if d is None else d).values.sum()  # a selection, not a sort
        for c, n in zip(norms.reshape(-1, width), counts.reshape(-1), strict=True)
    ]
    total = torch.stack(sums).reshape(norms.shape[:-1])
    return total / counts if per_token else total


def nuclear_norm(
    hidden: Tensor, *, mask: Tensor | None = None, normalize: bool = True, method: Literal["gram", "svd"] = "gram"
) -> Tensor:
    """The exact nuclear norm: the sum of the singular values.

    Args:
        hidden, mask, normalize: as for `matrix_nuclear_norm`.
        method: "gram" takes the square roots of the small Gram matrix's eigenvalues, "svd" the singular values themselves.

    Returns:
        A scalar, or (batch,), float64. The Gram side cannot see singular values below about 3e-7 of the largest, and takes
        them as zero.
    """
    rows, _ = _rows(hidden, mask, normalize=normalize)
    if method == "svd":
        values: Tensor = torch.linalg.svdvals(_filled(rows.double())).sum(-1)
        return torch.where(_undefined(rows), math.nan, values)
    return gram_spectrum(rows).sqrt().sum(-1)


def matrix_entropy(
    hidden: Tensor,
    *,
    mask: Tensor | None = None,
    normalize: bool = True,
    method: Literal["gram", "official"] = "gram",
    normalizer: Literal["d", "rank"] | None = "d",
) -> Tensor:
    """Entropy of the eigenvalues of XᵀX / tr(XᵀX), in nats, as a share of the largest it could be.

    Args:
        hidden, mask, normalize: as for `matrix_nuclear_norm`.
        method: "official" takes the singular values of the (features, features) matrix, as the published scripts do; "gram"
            takes the eigenvalues on the small side. They agree to 1e-6.
        normalizer: "d" divides by ln(features), as the published scripts do; "rank" by ln(min(tokens, features)), our choice
            where texts are shorter than the width; None does not divide.

    Returns:
        A scalar, or (batch,), float64.
    """
    rows, counts = _rows(hidden, mask, normalize=normalize)
    width = rows.shape[-1]
    if method == "official":
        rows = rows.double()
        covariance = _filled(rows).mT @ _filled(rows) / counts[..., None, None]
        shared = covariance / covariance.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        undefined = _undefined(rows) | _undefined(shared)
        shares = torch.where(undefined[..., None], math.nan, torch.linalg.svdvals(_filled(shared)))
    else:
        spectrum = gram_spectrum(rows)
        shares = spectrum / spectrum.sum(-1, keepdim=True)
    entropy: Tensor = torch.special.entr(shares.clamp(min=0)).sum(-1)  # entr(0) is 0, and NaN stays NaN
    if normalizer is None:
        return entropy
    if width < 2:
        raise ValueError("a normalised entropy needs at least 2 features; pass normalizer=None for 1")
    return entropy / (math.log(width) if normalizer == "d" else counts.double().clamp(max=width).log())


def effective_rank(hidden: Tensor, *, mask: Tensor | None = None, normalize: bool = True) -> Tensor:
    """exp of the matrix entropy: how many directions the tokens fill. A scalar, or (batch,), in [1, min(tokens, features)]."""
    return matrix_entropy(hidden, mask=mask, normalize=normalize, normalizer=None).exp()


def diff_erank(trained: Tensor, untrained: Tensor, *, average: Literal["erank", "entropy"] = "erank") -> Tensor:
    """By how much training lowered the effective rank (Wei et al. 2024, Diff-eRank); larger means more redundancy removed.

    Args:
        trained, untrained: (texts,), entropies in nats of the model and of its untrained twin on the same texts; texts whose
            entropy is NaN in either are left out.
        average: "erank" averages exp(H) over texts; "entropy" averages H and then exponentiates, as the published data set
            script does.
    """
    both = ~(trained.isnan() | untrained.isnan())
    trained, untrained = trained[both], untrained[both]
    if average == "entropy":
        return untrained.mean().exp() - trained.mean().exp()
    return (untrained.exp() - trained.exp()).mean()


def column_norms(rows: Tensor) -> Tensor:
    """Length of every column: (..., tokens, features) -> (..., features)."""
    squares = rows.new_zeros(*rows.shape[:-2], BLOCK, rows.shape[-1])
    for block in rows.split(
        BLOCK, dim=-2
    ):  # what is added to stays in the cache, so that X is read once and nothing is written
        squares[..., : block.shape[-2], :].addcmul_(block, block)
    return squares.sum(-2).sqrt()


def gram_spectrum(rows: Tensor) -> Tensor:
    """Squared singular values, ascending, from the Gram matrix of the smaller side, in float64.

    Args:
        rows: (..., tokens, features), zero rows where there is no token.

    Returns:
        (..., min(tokens, features)). What lies within rounding of zero is zero: the square root would make 1e-8 out of 1e-16.
    """
    rows = rows.double()
    if rows.dim() == 2 and rows.device.type == "cpu":
        values = _spectrum_by_lapack(rows)
    else:
        gram = rows @ rows.mT if rows.shape[-2] <= rows.shape[-1] else rows.mT @ rows
        undefined = gram.diagonal(dim1=-2, dim2=-1).isnan().any(-1)
        found: Tensor = torch.linalg.eigvalsh(gram.nan_to_num(nan=0.0) if bool(undefined.any()) else gram)
        values = torch.where(undefined[..., None], math.nan, found)
    noise = values[..., -1:] * torch.finfo(torch.float64).eps * values.shape[-1]
    return torch.where(values <= noise, 0.0, values)


def _spectrum_by_lapack(rows: Tensor) -> Tensor:
    """Eigenvalues of the small Gram matrix, one triangle of it all the way: half a product, reduced in place.

    torch has a call for neither, and spends a third more on the same.
    """
    columns = rows.contiguous().numpy().T  # BLAS counts in columns
    gram = blas.dsyrk(1.0, columns, trans=int(rows.shape[-2] <= rows.shape[-1]), lower=1)
    if np.isnan(gram.diagonal()).any():
        return torch.full((len(gram),), math.nan, dtype=torch.float64)
    if len(gram) == 1:
        return torch.from_numpy(gram[0])
    work = int(lapack.dsytrd_lwork(len(gram), lower=1)[0])
    _, diagonal, beside, _, refused = lapack.dsytrd(gram, lower=1, lwork=work, overwrite_a=1)
    values, failed = lapack.dsterf(diagonal, beside)
    if refused or failed:
        raise ArithmeticError("the eigenvalues of the Gram matrix did not converge")
    return torch.from_numpy(values)


def null_score(tokens: int, features: int) -> float:
    """MNN per token if all column norms were equal: sqrt(min(N, d) / max(N, d)). No training is involved in this number."""
    return math.sqrt(min(tokens, features) / max(tokens, features))


def haar_rotation(features: int, *, seed: int = 0) -> Tensor:
    """(features, features) orthogonal matrix drawn from the uniform law, float64: QR of a Gaussian with its signs fixed."""
    gaussian = torch.randn(features, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    q, r = torch.linalg.qr(gaussian)
    signed: Tensor = q * r.diagonal().sign()
    return signed


def normalised(hidden: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Centre over tokens, then scale every row to unit length (steps 1 and 2 of the score).

    Returns:
        (..., tokens, features), float64 up to 4 million entries, else float32; rows outside the mask are zero. A centred row
        of zero has no direction and comes out as NaN.
    """
    return _rows(hidden, mask, normalize=True)[0]


def _rows(hidden: Tensor, mask: Tensor | None, *, normalize: bool, check: bool = True) -> tuple[Tensor, Tensor]:
    """X and the number of tokens per text, (...,)."""
    if hidden.dim() not in (2, 3) or 0 in hidden.shape:
        raise ValueError(
            f"hidden states must be (tokens, features) or (batch, tokens, features), got {tuple(hidden.shape)}"
        )
    if not hidden.is_floating_point():
        raise ValueError(f"hidden states must be floating point, got {hidden.dtype}")
    if mask is not None and mask.shape != hidden.shape[:-1]:
        raise ValueError(f"the mask must be {tuple(hidden.shape[:-1])}, one entry per token, got {tuple(mask.shape)}")
    rows = hidden.detach().to(torch.float64 if hidden.shape[-2] * hidden.shape[-1] <= EXACT else torch.float32)
    inside = None if mask is None else mask.bool()[..., None]
    if inside is not None:
        rows = torch.where(inside, rows, 0.0)  # not a product: padding may hold NaN
    counts = torch.full(hidden.shape[:-2], hidden.shape[-2]) if inside is None else inside.sum((-1, -2))
    if not check:
        return rows, counts
    mean = rows.sum(-2, keepdim=True) / counts[..., None, None]
    _check_finite(mean, rows)
    if not normalize:
        return rows, counts
    centred = (
        rows - mean if rows.data_ptr() == hidden.data_ptr() else rows.sub_(mean)
    )  # in place only on a copy of ours
    lengths = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    # A row that equals the mean comes out of the subtraction as rounding, not as zero.
    size = lengths.amax(-2, keepdim=True) + torch.linalg.vector_norm(mean, dim=-1, keepdim=True)
    lengths = torch.where(lengths <= 8 * torch.finfo(rows.dtype).eps * size, math.nan, lengths)
    scaled = centred.div_(lengths)
    return (scaled if inside is None else torch.where(inside, scaled, 0.0)), counts


def _check_finite(over_tokens: Tensor, rows: Tensor) -> None:
    """Name the token that is not finite, where a sum over the tokens is not."""
    if not bool(torch.isfinite(over_tokens).all()):
        where = (~torch.isfinite(rows).all(-1)).nonzero()
        if len(where):
            raise ValueError(f"hidden states must be finite, but token {where[0].tolist()[-1]} holds NaN or infinity")


def _undefined(rows: Tensor) -> Tensor:
    return rows.isnan().any(-1).any(-1)


def _filled(rows: Tensor) -> Tensor:
    return rows.nan_to_num(nan=0.0) if bool(rows.isnan().any()) else rows
