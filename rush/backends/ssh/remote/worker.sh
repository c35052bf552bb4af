#!/bin/sh
# {{title}}
{{setup}}
exec {{command}} <&3 3<&-
