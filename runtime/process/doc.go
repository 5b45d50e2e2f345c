// Package process holds the processors: they make records of their own out of a
// lane's state. A processor runs inside the lane, on the lane's goroutine, and
// depends on nothing but the frames journal; what it makes goes to a journal of
// its own. It must be quick: the lane waits for it.
package process
