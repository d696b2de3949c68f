def remove_lines(density, low):
    return density
