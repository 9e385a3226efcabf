"""What training is given, checked and brought to the network's device."""
