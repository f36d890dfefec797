"""The command line: ``neuinv families | verdict | witness | verify | family | sweep``.

Exit codes: 0 fine, 1 the answer is 'cannot' or a check failed, 2 bad input. A message about bad input is one
sentence on stderr.
"""

import argparse
import json
import os
import sys
from decimal import ROUND_UP, Context

OK, FAILED, BAD_INPUT = 0, 1, 2


def build_parser():
    """Return the argument parser, with an example in the help of every command."""
    parser = _Parser(
        prog="neuinv",
        description="Where can a network invert a matrix?",
        epilog="example: neuinv families gaussian",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add(
        commands,
        "families",
        _families,
        "list the matrix families, or describe one",
        "neuinv families fem-helmholtz",
        lambda p: (
            p.add_argument("name", nargs="?", help="a family; all of them are listed without it"),
            p.add_argument("--json", action="store_true", help="print JSON for programs"),
        ),
    )
    _add(
        commands,
        "verdict",
        _verdict,
        "say whether a network can invert these matrices, which one, and at what price",
        "neuinv verdict wishart -p n=8 -p aspect=1.5 --tolerance 1e-3",
        _verdict_arguments,
    )
    _add(
        commands,
        "witness",
        _witness,
        "certify a singular matrix between A and B, where every network fails",
        "neuinv witness A.npy B.npy -o witness.json",
        lambda p: (
            p.add_argument("A", help="file with one matrix (.npy .npz .mtx .mat .safetensors)"),
            p.add_argument("B", help="file with one matrix whose determinant has the other sign"),
            p.add_argument("-o", "--output", help="write the certificate here, as JSON"),
        ),
    )
    _add(
        commands,
        "verify",
        _verify,
        "re-check a certificate in exact arithmetic",
        "neuinv verify witness.json",
        lambda p: p.add_argument("certificate", help="a certificate file"),
    )
    _add_family(commands)
    _add_sweep(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence, on one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help.\n")


def _add_sweep(commands):
    parser = commands.add_parser(
        "sweep",
        help="run a notebook over many parameters",
        description="Run a notebook over many parameters; to resume is to run again.",
        epilog="example: neuinv sweep run notebooks/sweeps/why-cannot.yaml --profile smoke",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    spec = "notebooks/sweeps/why-cannot.yaml"
    _add(verbs, "run", _sweep_run, "do the runs that are missing", f"neuinv sweep run {spec}", _run_arguments)
    _add(
        verbs,
        "status",
        _sweep_status,
        "say what is complete, running, failed and missing",
        f"neuinv sweep status {spec} --json",
        _status_arguments,
    )
    _add(
        verbs,
        "collect",
        _sweep_collect,
        "write the records of the complete runs into one Parquet file and a summary",
        f"neuinv sweep collect {spec}",
        _collect_arguments,
    )


def _add_family(commands):
    parser = commands.add_parser(
        "family",
        help="begin a page of the book for your own family",
        description="Begin a page of the book for your own family of matrices.",
        epilog="example: neuinv family new my-family",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add(
        verbs,
        "new",
        _family_new,
        "write notebooks/NAME.md from the template and list it in _toc.yml",
        "neuinv family new my-family --source my_matrices.npz",
        lambda p: (
            p.add_argument("name", metavar="NAME", help="lower-case words joined by hyphens"),
            p.add_argument("--source", metavar="FILE", help="a file of matrices, instead of a function"),
            p.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing"),
        ),
    )


def _family_new(options):
    from neuinv.forking import new_page

    page = new_page(options.name, source=options.source)
    if not options.dry_run:
        page.write()
    print("\n".join(page.report(dry=options.dry_run)))
    return OK


def _sweep_arguments(parser):
    parser.add_argument("spec", metavar="SPEC", help="a sweep file (.yaml)")
    parser.add_argument("--profile", default="cpu", help="smoke, cpu or gpu; cpu by default")
    parser.add_argument("--folder", help="where the run folders are; runs/STUDY of the project by default")


def _run_arguments(parser):
    _sweep_arguments(parser)
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster to use, tcp://HOST:PORT")
    parser.add_argument("--shard", metavar="i/k", help="only every k-th run from the i-th, without Dask")
    parser.add_argument("--workers", type=int, help="runs at a time on this machine; its cores or GPUs")


def _status_arguments(parser):
    _sweep_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument("--runs", action="store_true", help="list every run")


def _collect_arguments(parser):
    _sweep_arguments(parser)
    parser.add_argument("--output", help="a folder; book/results/STUDY of the project by default")


def _sweep_run(options):
    from neuinv.sweep import commands

    return OK if commands.run(options, sys.stdout) else FAILED


def _sweep_status(options):
    from neuinv.sweep import commands

    commands.status(options, sys.stdout)
    return OK


def _sweep_collect(options):
    from neuinv.sweep import commands

    return OK if commands.collect(options, sys.stdout) else FAILED


def _add(commands, name, run, summary, example, arguments):
    parser = commands.add_parser(name, help=summary, description=summary, epilog=f"example: {example}")
    parser.set_defaults(run=run)
    arguments(parser)


def _families(options):
    from neuinv.gallery import describe, families

    names = families() if options.name is None else [options.name]
    if options.json:
        print(json.dumps([_facts(name) for name in names], indent=1))
    elif options.name is not None:
        print(f"{options.name}\n\n{describe(options.name)}")
    else:
        width = max(map(len, names))
        for name in names:
            print(f"{name:<{width}}  {describe(name).splitlines()[0]}")
    return OK


def _facts(name):
    from neuinv.gallery import describe, parameter_specs

    parameters = {
        key: {"default": spec.default, "meaning": spec.meaning, "range": spec.range_text}
        for key, spec in parameter_specs(name).items()
    }
    return {"name": name, "description": describe(name), "parameters": parameters}


def _verdict_arguments(parser):
    add = parser.add_argument
    add("source", nargs="+", metavar="SOURCE", help="a family, or files of matrices of one size")
    add("-p", "--parameter", action="append", default=[], metavar="KEY=VALUE", help="of a family")
    add("--tolerance", type=float, default=1e-3, help="of the right residual; 1e-3 by default")
    add("--samples", type=int, help="how many matrices; 200, or all that are given")
    add("--seed", type=int, default=0, help="of the draw; 0 by default")
    add("--dtype", help="of the inputs: float64, float32, bfloat16 or float16")
    add("--figure", metavar="FILE", help="draw the verdict into a .png, .svg or .pdf file")
    add("--json", action="store_true", help="print JSON for programs")


def _verdict(options):
    from neuinv.criterion import verdict
    from neuinv.gallery import parameters_from_text

    _refuse_to_overwrite(options.figure, *options.source)
    source = options.source[0] if len(options.source) == 1 else options.source
    _refuse_parameters_of_files(options)
    found = verdict(
        source,
        tolerance=options.tolerance,
        samples=options.samples,
        seed=options.seed,
        parameters=parameters_from_text(source, options.parameter) if options.parameter else None,
        dtype=_dtype(options.dtype),
    )
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)
    if options.figure is not None:
        from neuinv.plotting import save_figure, verdict_figure

        save_figure(verdict_figure(found), options.figure)
    return FAILED if found.recommendation == "cannot" else OK


def _refuse_parameters_of_files(options):
    from neuinv.gallery import families

    if options.parameter and options.source[0] not in families():
        raise ValueError(
            f"-p {options.parameter[0]} is for families, and {options.source[0]} is none; leave it away."
        )


def _dtype(name):
    from neuinv._checks import FLOATING

    known = {str(dtype).removeprefix("torch."): dtype for dtype in FLOATING}
    if name is not None and name not in known:
        raise ValueError(f"--dtype is {name!r}; use one of {', '.join(known)}.")
    return known.get(name)


def _witness(options):
    from neuinv.gallery import MatrixFamily
    from neuinv.witnesses import rational_witness

    _refuse_to_overwrite(options.output, options.A, options.B)
    pair = []
    for path in (options.A, options.B):
        matrices = MatrixFamily.from_file(path).matrices
        if len(matrices) != 1:
            raise ValueError(f"{path} holds {len(matrices)} matrices; a witness needs a file with one.")
        pair.append(matrices[0].double())
    certificate = rational_witness(*pair)
    distance = Context(prec=3, rounding=ROUND_UP).create_decimal_from_float(
        float.fromhex(certificate.distance)
    )
    print(f"S' is exactly singular, within {distance:.3g} of (1 - t) A + t B")
    print(f"t = {float.fromhex(certificate.t):.12g}")
    print("Every matrix Y has ||S' Y - I||_2 >= 1: no network inverts on a connected set with A and B.")
    if options.output is not None:
        certificate.save(options.output)
        print(f"certificate: {options.output}   (check it: neuinv verify {options.output})")
    return OK


def _refuse_to_overwrite(output, *inputs):
    for path in inputs:
        if (
            output is not None
            and os.path.exists(output)
            and os.path.exists(path)
            and os.path.samefile(output, path)
        ):
            raise ValueError(f"--output is {output}, an input; name another file, so that no matrix is lost.")


def _verify(options):
    from neuinv import verify

    return verify.main([options.certificate])


def main(arguments=None):
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : list of str, optional
        Without the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0, 1 or 2 as described at the top of this module.
    """
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"neuinv {options.command}: {_sentence(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"neuinv {options.command}: interrupted.", file=sys.stderr)
        return 130


def _sentence(error):
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}; name another file or folder."
    return str(error).replace("\n", " ")
