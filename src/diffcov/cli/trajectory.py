"""``diffcov trajectory``: the best times to visit, for every number of steps at once."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.measure import SearchRequest


@command(SearchRequest)
def trajectory(request: SearchRequest, console: Console, as_json: bool) -> None:
    """Search the times with the best likelihood for every number of steps (then: --grid optimal).

    One network call an image and time gives every term between two times; dynamic programming does the rest.

    It takes about 20 seconds for the digits on two CPU cores, a call for each of 25 images and 1000 times.

    Examples:

    - `diffcov trajectory`: searches for the best covariance that the run holds.
    - `diffcov trajectory --covariance corrected --candidates 200`: searches among 200 times, in a fifth of the time.
    """
    from diffcov.present.terminal.search import search_table
    from diffcov.study.search import search_grids

    found = search_grids(request, console)
    longest = found.found.longest
    console.show(search_table(found))
    console.note(f"searched every number of steps up to {longest} in {found.seconds:.2f} s: {found.path}")
    console.finish(found.as_dict(), as_json, str(found.path))
    console.next_step(f"diffcov sample --covariance {found.covariance} --grid optimal --steps {min(10, longest)}")
