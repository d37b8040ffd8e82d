"""What all figures share: colours, and how they are made and shown."""

import io
from typing import Any

COLORS = ("#0072B2", "#D55E00", "#00785A", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by the colour-blind
INK = "#333333"


class Display:
    """Something that has been drawn, or can be."""

    figure_: Any

    def _repr_png_(self):
        """Show a figure of its own in a notebook; what pyplot manages is shown by pyplot."""
        if not hasattr(self, "figure_") or self.figure_.canvas.manager is not None:
            return None
        picture = io.BytesIO()
        self.figure_.savefig(picture, format="png")
        return picture.getvalue()


def new_figure(who, size=(7, 5)):
    """Return a figure that pyplot does not know.

    Raises
    ------
    ImportError
        Without matplotlib; says who needs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{who} needs matplotlib; install it with: pip install matplotlib") from error
    return Figure(figsize=size, layout="constrained")
