"""What a run says about itself."""

from tameshi.bench.run import plan
from tameshi.bench.shelf import built, stand
from tameshi.bench.signature import parameters


def test_no_run_names_a_subject_that_it_was_not_given():
    for slug in built():
        taken = {p.name for check in stand(slug).checks for p in parameters(check.function) if p.is_subject}
        for name, subject in plan(slug, {}).facts["subjects"].items():
            assert name in taken
            assert subject["name"], f"{slug} names {name}, which is empty"
