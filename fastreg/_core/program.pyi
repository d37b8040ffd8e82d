from typing import Any

class Program:
    def __init__(self, plan: Any) -> None: ...
