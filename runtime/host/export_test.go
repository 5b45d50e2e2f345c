package host

// LandlockVersion is the kernel's.
var LandlockVersion = landlockVersion
