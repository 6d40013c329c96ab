// Without a file of this kind the compiler wants bodies for the functions that are linked by name.
