# Nothing here but this comment.
