"""`python -m bench` is the `heartbench` command, and so is the script of that name."""

import sys

MACHINE_LACKS = 4


def main() -> None:
    """Run the command; without the packages it needs, say which extra brings them."""
    try:
        from bench.cli import main as command
    except ModuleNotFoundError as error:
        if (error.name or "bench").partition(".")[0] in ("bench", "membership"):
            raise
        sys.stderr.write(f"heartbench needs {error.name}: pip install 'heartbench[bench]'\n")
        sys.exit(MACHINE_LACKS)
    command(prog_name="heartbench")


if __name__ == "__main__":
    main()
