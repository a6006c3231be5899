"""The contract between choosing and doing: a plan, what is predicted of it, and what makes it legal."""
