"""Workers as jobs of OpenPBS, PBS Pro and Torque."""
