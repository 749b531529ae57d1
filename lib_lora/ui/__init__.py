"""What people see: panels that take an `Atelier` and words, and return a block of widgets. No maths here."""
