package tenon

// MergeOn is Merge on a device of the test's.
var MergeOn = merge
