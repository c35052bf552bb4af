#!/bin/sh
# Starts one worker of the rush network {{network}}. Run it n times for n workers, wherever the server can be reached.
# The secrets stay in the file that it names, which only its owner can read.
exec {{python}} {{arguments}}
