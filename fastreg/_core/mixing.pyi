# Called from the compiled engine, and from the door `mixing`.
