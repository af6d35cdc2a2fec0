"""The miniature's base models: ``python -m models.build`` makes them anew."""
