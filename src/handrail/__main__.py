"""`python -m handrail`, for where the scripts folder is not on PATH."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="handrail")
