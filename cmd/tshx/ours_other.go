//go:build !unix

package main

// onlyOurs reports true: where modes do not say who may write, the cache is a place
// of the user's own.
func onlyOurs(string) bool { return true }
