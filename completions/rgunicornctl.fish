complete -c rgunicornctl -s s -l socket -d 'The server\'s control socket [default: that of a server with default settings]' -r
complete -c rgunicornctl -s c -l command -d 'The command, as one word' -r
complete -c rgunicornctl -s j -l json -d 'Print the answer as JSON'
complete -c rgunicornctl -s v -l version -d 'Print the version'
complete -c rgunicornctl -s h -l help -d 'Print help'
