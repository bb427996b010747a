"""What the stage `explain` is made of: maps by the model, and what they are worth."""
