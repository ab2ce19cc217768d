"""Where work items are computed: in processes of this machine, or on the machines of a Ray cluster.

The one home of that choice, which `compute` in params.yaml makes for validate, populate and score. It changes no byte:
an item's result depends on the item alone, and results come in the order of the items.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from text2sql.base.errors import UserError, install
from text2sql.engines.pool import CHUNK, cores, guarded_workers
from text2sql.engines.protocol import Engines, Opener

if TYPE_CHECKING:  # Ray is an extra
    from text2sql.engines.cluster import Cluster

Workers: TypeAlias = "int | Cluster"  # processes of this machine, or a cluster


@contextmanager
def open_workers(
    compute: Literal["local", "ray"], open_dialects: Opener = lambda dialects: nullcontext({})
) -> Iterator[Workers]:
    """What `workforce` takes as `workers`: a number of processes, or the Ray cluster at RAY_ADDRESS.

    open_dialects: opens, on each machine of the cluster, the engines that `workforce` is given here. Raises UserError
    where Ray is not installed or the cluster cannot be reached.
    """
    if compute == "local":
        yield cores()
        return
    try:
        from text2sql.engines.cluster import connected
    except ModuleNotFoundError as error:
        raise UserError(f"compute: ray is not installed; `{install('ray')}`, or set it to local") from error
    with connected(open_dialects) as cluster:
        yield cluster


def workforce(
    function: Callable[..., Any],
    *,
    workers: Workers,
    engines: Engines | None = None,
    most: int | None = None,
    seconds: float,
    memory_bytes: int,
    chunk: int = CHUNK,
    initializer: Callable[[], object] | None = None,
) -> AbstractContextManager[Callable[[Iterable], Iterator[Any]]]:
    """As `pool.guarded_workers`, here or on a cluster: gives the function from items to results, in their order.

    engines: what `function` takes under this name, if it does; a machine of a cluster opens its own. most: so many
    workers at a time, where an engine takes no more. A worker or a machine that dies costs time and no result.
    """
    limits: dict[str, Any] = {
        "seconds": seconds,
        "memory_bytes": memory_bytes,
        "chunk": chunk,
        "initializer": initializer,
    }
    if not isinstance(workers, int):
        return nullcontext(partial(workers.run, function, engines, most, limits))
    bound = function if engines is None else partial(function, engines=engines)
    return guarded_workers(bound, workers=min(workers, most or workers), **limits)
