"""Recipes compared: generators trained with equal budgets and several seeds, and scored by one protocol."""
