"""How the claims are judged."""

from __future__ import annotations

from tameshi.nouns import AllOf, Beats, Difference, OutOfReach, Reaches, Rule

COOPERATIVE = ("diffusion", "consensus")
SLOPES = {"deviation_slope": (0.8, 1.6), "disagreement_slope": (1.6, 2.2)}

RULES: list[Rule] = [
    AllOf(
        "C1",
        tuple(
            Beats(
                "C1",
                method,
                "clean",
                metric="robust_accuracy",
                better="higher",
                by=Difference(0.02),
                where={"strength": strength},
                control=("non-cooperative",),
                check="robustness",
            )
            for method in COOPERATIVE
            for strength in (0.6, 0.9)
        ),
    ),
    AllOf(
        "C2",
        tuple(
            Beats(
                "C2",
                method,
                "non-cooperative",
                metric="robust_accuracy",
                better="higher",
                each=("strength",),
                control=("clean-alone",),
                check="robustness",
            )
            for method in COOPERATIVE
        ),
    ),
    AllOf(
        "C3",
        (
            *(
                part
                for method in COOPERATIVE
                for metric, (low, high) in SLOPES.items()
                for part in (
                    Reaches("C3", method, low, metric=metric, better="higher", check="convergence"),
                    Reaches("C3", method, high, metric=metric, better="lower", check="convergence"),
                )
            ),
            Beats(
                "C3", "diffusion", "consensus", metric="deviation", better="lower", each=("step",), check="convergence"
            ),
        ),
    ),
    OutOfReach(
        "C4",
        {
            "en": "Convex models cannot show it: over the graph and in one place they reach the same minimiser (the rows say how closely).",
            "ja": "凸なモデルでは示せない。グラフ上でも一か所でも同じ最小解に達するからである（どれだけ近いかは測定値に示す）。",
        },
        "--deep",
        then=Beats(
            "C4",
            "diffusion-network",
            "central-network",
            metric="robust_accuracy",
            better="higher",
            each=("strength",),
            check="robustness",
        ),
    ),
]
