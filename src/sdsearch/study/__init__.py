"""Several experiments, compared on equal terms: arms x seeds on one budget, in processes of their own."""
