from typing import Any, Self, final

@final
class Program:
    def __new__(cls, plan: Any) -> Self: ...
