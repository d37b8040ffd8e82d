# Called from the compiled engine alone.
