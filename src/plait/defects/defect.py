"""What a defect is: one class, with the public issue it comes from and the function whose place it takes.

    class MyDefect(Defect):
        name, issue = "my-defect", "owner/repository#1"
        wraps = "plait.parallel.model:ParallelModel.clip_gradients"      # module : name in it, where it is looked up
        axes = ("data",)

        def instead(self, clip_gradients, model, limit):                 # the function, then what it is called with
            return clip_gradients(model, limit * 2 if self.strikes() else limit)

Defining the class registers it, also outside of this package. `wraps` may name a function, a method or a property, or
several, of which `instead` is told which one it stands for by what it is given; one that a module has imported by name
is looked up in that module, and has to be replaced there.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, ClassVar

from plait.defects.here import Here

__all__ = ["DEFECTS", "Defect", "find"]


class Defect:
    """A fault as it is planted: in `layer` alone (None: in all), along `axis`, in `step` alone (from 1; None: in all).

    `axes`: those along which it can be planted, the usual one first. `issue`: owner/repository#number, or "own".
    `in_one_layer`, `in_one_step`: whether it can be; what it can't obey raises ValueError.
    """

    name: ClassVar[str] = ""
    issue: ClassVar[str] = ""
    wraps: ClassVar[str | tuple[str, ...]] = ""
    axes: ClassVar[tuple[str, ...]] = ()
    in_one_layer: ClassVar[bool] = False
    in_one_step: ClassVar[bool] = True

    def __init__(self, here: Here, *, layer: str | None = None, axis: str | None = None, step: int | None = None):
        if axis is not None and axis not in self.axes:
            raise ValueError(f"{self.name} can't be planted along {axis}; legal here: {', '.join(self.axes) or 'none'}")
        if layer is not None and not (isinstance(layer, str) and layer):
            raise ValueError(f'a layer is named, as "block 0"; {layer!r} names none')
        if step is not None and (type(step) is not int or step < 1):
            raise ValueError(f"steps count from 1; {step!r} is none of them")
        if layer is not None and not self.in_one_layer:
            raise ValueError(f"{self.name} concerns the whole model: it can't be planted in {layer} alone")
        if step is not None and not self.in_one_step:
            raise ValueError(f"{self.name} stands in every step: it can't be planted in step {step} alone")
        self.here, self.layer, self.step = here, layer, step
        self.axis = axis or next(iter(self.axes), None)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.name:
            DEFECTS[cls.name] = cls

    def instead(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Called in the function's place, with it and with its arguments; here it changes nothing."""
        return function(*args, **named)

    def strikes(self, layer: str | None = None) -> bool:
        """Whether the fault acts now: in this step, and in this layer if one is given."""
        return self.step in (None, self.here.step) and (layer is None or self.layer in (None, layer))

    def strikes_here(self) -> bool:
        """Whether it acts in the layer that is in forward now."""
        return self.here.layer is not None and self.strikes(self.here.layer)

    def struck(self) -> list[str]:
        """The names of this rank's weights that it acts on now."""
        return self.here.weights(self.layer) if self.strikes() else []


DEFECTS: dict[str, type[Defect]] = {}  # by name, as they are defined


def find(defect: str | type[Defect]) -> type[Defect]:
    """The class of a defect. Raises ValueError, with the nearest names, where there is none of that name."""
    if isinstance(defect, type) and issubclass(defect, Defect):
        return defect
    if not isinstance(defect, str):
        raise TypeError(f"a defect is named, or is a class of Defect; {defect!r} is neither")
    if defect not in DEFECTS:
        near = get_close_matches(defect, DEFECTS, n=3, cutoff=0.3) or sorted(DEFECTS)
        raise ValueError(f"there is no defect {defect!r}; the nearest: {', '.join(near)}")
    return DEFECTS[defect]
