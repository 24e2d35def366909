"""Stencils as C code: one pass over memory, float32 sums, shared subexpressions computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, product

from steadygan.kernels.winograd.stencils import Stencil, TermOfSum

WIDTH = 16
"""Channels must be a multiple of this, the largest vector size of a processor."""

HEAD = """
#include <stdint.h>
#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t bits __attribute__((vector_size(4 * WIDTH)));
typedef float floats __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(2 * WIDTH), aligned(2)));
static inline vec load_float(float const *p) { return *(floats const *)p; }
static inline void store_float(float *p, vec x) { *(floats *)p = x; }
static inline vec load_uint16_t(uint16_t const *p) {
  return (vec)(__builtin_convertvector(*(halves const *)p, bits) << 16);
}
static inline vec at_least_zero(vec x) { return (vec)((bits)x & ~(bits)(x < (vec){})); }
static inline vec if_positive(vec mask, vec x) { return (vec)((bits)x & ~(bits)(mask <= (vec){})); }
// To the nearest bfloat16, ties to even.
#if defined(__AVX512BF16__)
#include <immintrin.h>
static inline void store_uint16_t(uint16_t *p, vec x) { *(halves *)p = (halves)_mm512_cvtneps_pbh((__m512)x); }
#else
static inline void store_uint16_t(uint16_t *p, vec x) {
  bits b = (bits)x;
  *(halves *)p = __builtin_convertvector((b + 0x7fff + ((b >> 16) & 1)) >> 16, halves);
}
#endif
"""
ADD = """
void add(float *sums, uint16_t const *terms, int64_t n, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t k = 0; k < n; k += WIDTH) store_float(sums + k, load_float(sums + k) + load_uint16_t(terms + k));
}
"""
Sum = dict[str, float]
"""Factors by variable name."""


def write_stencil(
    stencil: Stencil, source: str, target: str, *, rectify: bool = False, biased: bool = False, masked: bool = False
) -> str:
    """Generates the C function `stencil` for one stencil, two types and options.

    Args:
        stencil: the sums.
        source: C type of the numbers read.
        target: C type of the numbers written.
        rectify: read relu(source).
        biased: add a bias.
        masked: write zero where a mask is not positive.
    """
    return "\n".join(
        (
            f"void stencil({source} const *source, {target} *target, {source} const *zeros, float const *bias,",
            f"    {target} const *mask,",
            "    int64_t const *s, int64_t const *d, int64_t n, int64_t down, int64_t across, int64_t c, int threads)",
            "{",
            "#pragma omp parallel for num_threads(threads)",
            "for (int64_t row = 0; row < n * down; row++) for (int64_t y = row % down, x = 0; x < across; x++) {",
            f"{source} const *in = source + row / down * s[0] + y * s[1] + x * s[2];",
            "int64_t const to = row / down * d[0] + y * d[1] + x * d[2];",
            *_places(stencil, source),
            "for (int64_t k = 0; k < c; k += WIDTH) {",
            *_read(stencil, source, rectify),
            *_write(stencil, target, biased, masked),
            "}}}",
        )
    )


def _places(stencil: Stencil, source: str) -> Iterator[str]:
    """Addresses of a tile's lines; zeros beyond the edge."""
    used = _lines(stencil)
    for (down, i), (across, j) in product(used, used):
        inside = [{-1: "y > 0", 1: "y < down - 1"}.get(down), {-1: "x > 0", 1: "x < across - 1"}.get(across)]
        place = f"in + {down} * s[1] + {across} * s[2] + {i} * s[3] + {j} * s[4]"
        tests = " && ".join(filter(None, inside)) or "1"
        yield f"{source} const *at{_at(down, i)}{_at(across, j)} = {tests} ? {place} : zeros;"


def _read(stencil: Stencil, source: str, rectify: bool) -> Iterator[str]:
    """Loads a vector of each line, and computes the vertical sums.

    Prefetches the next tile's lines, as there are more streams than a hardware prefetcher follows.
    """
    used = _lines(stencil)
    for column in (_at(*line) for line in used):
        for row in (_at(*line) for line in used):
            place = f"at{row}{column} + k"
            yield f"__builtin_prefetch({place} + s[2]);"
            value = f"load_{source}({place})"
            yield f"vec in{row}{column} = {f'at_least_zero({value})' if rectify else value};"
        sums = {f"sum_{p}{column}": _terms(terms, f"in{{}}{column}") for p, terms in enumerate(stencil.sums)}
        yield from write_sums(sums)


def _write(stencil: Stencil, target: str, biased: bool, masked: bool) -> Iterator[str]:
    """Computes and stores the horizontal sums."""
    for p in range(len(stencil.sums)):
        sums = {f"out_{p}_{q}": _terms(terms, f"sum_{p}{{}}") for q, terms in enumerate(stencil.sums)}
        yield from write_sums(sums)
        for q, value in enumerate(sums):
            place = f"to + {p} * d[3] + {q} * d[4] + k"
            if biased:
                value += " + load_float(bias + k)"
            if masked:
                yield f"__builtin_prefetch(mask + {place} + d[2]);"
                value = f"if_positive(load_{target}(mask + {place}), {value})"
            yield f"__builtin_prefetch(target + {place} + d[2], 1);"
            yield f"store_{target}(target + {place}, {value});"


def _lines(stencil: Stencil) -> list[tuple[int, int]]:
    """All (tile offset, line) pairs read along an axis."""
    return sorted({(away, i) for terms in stencil.sums for away, i, _ in terms})


def _terms(terms: Sequence[TermOfSum], name: str) -> Sum:
    return {name.format(_at(away, i)): factor for away, i, factor in terms}


def _at(away: int, i: int) -> str:
    return f"_{'bha'[away + 1]}{i}"  # before, here, after


def write_sums(sums: Mapping[str, Sum]) -> Iterator[str]:
    """Defines every variable as its sum of others.

    Two terms that occur only together, with factors equal or opposite, become one: their sum or their difference. Two
    sums of the same terms, with factors equal or opposite, are the even part plus and minus the odd part.
    """
    left = {name: dict(terms) for name, terms in sums.items()}
    for a, b in combinations(dict.fromkeys(chain(*left.values())), 2):
        users = [terms for terms in left.values() if a in terms or b in terms]
        if len(users) > 2 and all(abs(terms.get(a, 0)) == abs(terms.get(b, 0)) for terms in users):
            plus, minus = f"plus_{a}_{b}", f"minus_{a}_{b}"
            yield f"vec {plus} = {a} + {b}, {minus} = {a} - {b};"
            for terms in users:
                factor = terms.pop(a)
                terms[plus if terms.pop(b) == factor else minus] = factor
    while left:
        name = next(iter(left))
        terms = left.pop(name)
        twin = next((other for other in left if _are_twins(terms, left[other])), None)
        if twin is None:
            yield f"vec {name} = {_written(terms)};"
            continue
        others = left.pop(twin)
        parts = []
        for kind, alike in (("even", True), ("odd", False)):
            shared = {x: factor for x, factor in terms.items() if (others[x] == factor) is alike}
            lead = next(iter(shared.values()))
            yield f"vec {kind}_{name} = {_written({x: factor / lead for x, factor in shared.items()})};"
            parts.append(_written({f"{kind}_{name}": lead}))
        yield f"vec {name} = {' + '.join(parts)}, {twin} = {' - '.join(parts)};"


def _are_twins(a: Sum, b: Sum) -> bool:
    """Whether two sums differ only in signs, so that computing them together saves operations."""
    if len(a) < 3 or a.keys() != b.keys() or any(abs(a[x]) != abs(b[x]) for x in a):
        return False
    return len({a[x] == b[x] for x in a}) == 2


def _written(terms: Sum) -> str:
    """Terms with factor 1 come first, so that the others can be added with fused multiply-adds."""
    ordered = sorted(terms.items(), key=lambda term: term[1] != 1)
    return " + ".join(x if factor == 1 else f"{float(factor)}f * {x}" for x, factor in ordered)
