"""``python -m models.build``: both base models, side by side."""

from models.build.build import main

if __name__ == "__main__":
    main()
