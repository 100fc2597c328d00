module myelin/complement/image

go 1.25.0
