"""The one exception for what a user can get wrong."""


class InputError(ValueError):
    """A mistake in what the user gave: a file, an option, a recipe, a record.

    Its message is a single line that names the thing and the fix. The command line prints it
    without a traceback and exits with code 2; everything else that is raised is a defect of ours.
    """
