module github.com/edwarnicke/genericsync

go 1.26
