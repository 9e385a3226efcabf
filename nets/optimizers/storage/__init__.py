"""The arrays an optimizer updates and those of its states: one flat buffer, or arrays apart."""
