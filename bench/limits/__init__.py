"""The limit in the same run: the same loads and stores around next to no arithmetic."""
