"""System families behind one small protocol; one file each."""
