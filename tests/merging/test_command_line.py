"""`tameshi apply` of the three papers, as typed: recipes, dry runs, and one sentence for what is wrong."""

import sys

import pytest
import yaml

from tameshi.cli import main
from tameshi.merging import weights_of


@pytest.fixture
def typed(family, tmp_path, monkeypatch, capsys):
    """Run a command line in this process; {base}, {math} ... are folders, a mapping becomes a recipe's file."""
    paths = {name: str(path) for name, path in family.items()}

    def run(*words, recipe=None):
        if recipe is not None:
            filled = yaml.safe_dump(recipe)
            for name, path in paths.items():
                filled = filled.replace(f"<{name}>", path)
            (tmp_path / "r.yaml").write_text(filled)
            words = (*words, "--recipe", str(tmp_path / "r.yaml"))
        monkeypatch.setattr(sys, "argv", ["tameshi", "apply", *(word.format(**paths) for word in words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


LATA = {"method": "lata", "pre": "<base>", "inst": "<instruct>", "experts": {"math": "<math>"}}
RESIDUAL = {"method": "instruction-residual", "base": "<base>", "instruct": "<instruct>", "target": "<math>"}
TIES = {"method": "ties", "base": "<base>", "models": {"m": "<math>", "c": "<code>"}, "densities": 0.5}
KIT = {
    "merge_method": "ties",
    "base_model": "<base>",
    "models": [{"model": "<math>", "parameters": {"weight": 0.5, "density": 0.5}}],
}


@pytest.mark.parametrize(
    ("slug", "recipe", "word"),
    [
        ("lata", LATA, "cosine with the instruction vector"),
        ("instruction-residual", RESIDUAL, "the instruction residual"),
        ("mix-or-merge", TIES, "TIES"),
        ("mix-or-merge", KIT, "trimmed per tensor"),
    ],
)
def test_a_recipe_is_told_by_a_dry_run_and_done_without_one(slug, recipe, word, typed, tmp_path):
    code, said, _ = typed(slug, "--dry-run", recipe=recipe)
    assert code == 0
    assert word in said
    assert not (tmp_path / "out").exists()
    code, said, complaints = typed(slug, "-o", str(tmp_path / "out"), recipe=recipe)
    assert code == 0, complaints
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_the_number_type_is_that_of_the_option_and_not_of_the_recipe(typed, tmp_path):
    typed("mix-or-merge", "-o", str(tmp_path / "out"), "--out-dtype", "bfloat16", recipe=TIES)
    assert {str(d) for d in weights_of(tmp_path / "out").dtypes.values()} == {"torch.bfloat16"}


def test_yaml_reads_no_as_false_and_means_no(typed):
    assert typed("lata", "--dry-run", recipe=LATA | {"resize": False})[0] == 0


@pytest.mark.parametrize(
    ("slug", "recipe", "message"),
    [
        ("lata", TIES, "is a recipe of ties; this command is for lata"),
        ("instruction-residual", LATA, "is a recipe of lata"),
        ("lata", LATA | {"rule": ["log"]}, "rule must be linear, log or threshold"),
        ("lata", LATA | {"threshold": "high"}, "threshold must be a finite number, got 'high'"),
        ("lata", LATA | {"pre": 3}, "pre must be a path, got 3"),
        ("lata", LATA | {"experts": {"m": 3}}, "the path of m must be text"),
        ("lata", LATA | {"experts": {"m": {"path": "<math>", "scale": float("nan")}}}, "scale of m must be a finite"),
        ("lata", LATA | {"dtype": ["x"]}, "dtype must be one of"),
        ("lata", LATA | {"resize": "yes"}, "resize must be 'no' or 'min-rows', got 'yes'"),
        ("lata", LATA | {"rank_extra": "maybe"}, "rank_extra must be true or false"),
        ("instruction-residual", RESIDUAL | {"scale": float("inf")}, "scale must be a finite number, got inf"),
        ("mix-or-merge", TIES | {"weights": {"m": 1, "c": float("nan")}}, "weights must be a finite number, got nan"),
        ("mix-or-merge", TIES | {"densities": "x"}, "densities must be a finite number"),
        ("mix-or-merge", TIES | {"normalize": "maybe"}, "normalize must be true or false"),
        ("mix-or-merge", TIES | {"seed": "x"}, "seed must be a whole number"),
        ("mix-or-merge", KIT | {"models": [{"modl": "x"}]}, "must be a list of"),
        ("mix-or-merge", KIT | {"parameters": [1]}, "must be keys and values"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_and_writes_nothing(slug, recipe, message, typed, tmp_path):
    refused(typed(slug, "-o", str(tmp_path / "out"), recipe=recipe), message, tmp_path)


@pytest.mark.parametrize("words", [["--rule", "log"], ["--base", "{base}"], ["--scale", "0.5"], ["--no-rank-extra"]])
def test_an_option_that_a_recipe_replaces_is_not_passed_over(words, typed, tmp_path):
    done = typed("lata", "-o", str(tmp_path / "out"), *words, recipe=LATA)
    refused(done, "and --recipe cannot both be given", tmp_path)


FORGETTING = ["lata", "--base", "{base}", "--instruct", "{instruct}", "--expert", "m={math}", "--forget-from", "{code}"]
PAIR = ["--model", "a={math}", "--model", "b={code}"]


def test_what_forgets_takes_the_number_type_of_the_option(typed, tmp_path):
    code, _, complaints = typed(*FORGETTING, "-o", str(tmp_path / "out"), "--out-dtype", "bfloat16")
    assert code == 0, complaints
    assert {str(d) for d in weights_of(tmp_path / "out").dtypes.values()} == {"torch.bfloat16"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mix-or-merge", *PAIR, "--weight", "a=nan", "--weight", "b=1"], "weights must be a finite number, got nan"),
        (["mix-or-merge", *PAIR, "--method", "slerp", "--t", "nan"], "t must be a finite number, got nan"),
        (["mix-or-merge", *PAIR, "--resize", "rows"], "--resize takes one of no, min-rows, got 'rows'"),
        (
            ["lata", "--base", "{base}", "--instruct", "{instruct}", "--expert", "m={math}", "--scale", "inf"],
            "scale of m",
        ),
        (["instruction-residual", "--base", "{base}", "--instruct", "{instruct}"], "--target and either --base"),
        (
            ["instruction-residual", "--residual", "{base}", "--instruct", "{instruct}", "--target", "{math}"],
            "--residual stands in place of --instruct",
        ),
        (["mix-or-merge", *PAIR, "--base", "{base}"], "--method linear has no common ancestor"),
        (
            [*FORGETTING, "--anchor", "inst"],
            "forgetting starts from its target; leave the anchor out",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence_and_writes_nothing(words, message, typed, tmp_path):
    refused(typed(*words, "-o", str(tmp_path / "out")), message, tmp_path)


def refused(done, message, tmp_path):
    code, _, complaint = done
    assert code == 2
    assert message in complaint
    assert complaint.startswith("tameshi: ")
    assert complaint.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
