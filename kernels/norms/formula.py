"""Layer norm and RMS norm, forward and backward: the arithmetic of a row, written once.

Engines run these functions as ../rows/skeleton.py says. The mean is kept in two parts: `center`,
near it, and `rest`, what it is off. Sums are of differences from `center`, so that a mean that
is large beside the deviation costs no digits (Chan, Golub and LeVeque, 1983, the shifted algorithm
with their correction). The mean of a row's first elements is near enough, unless one of them is an
outlier: such a row is walked twice.
"""

from __future__ import annotations

from numpy import maximum, sqrt, where


# --- layer norm, forward --------------------------------------------------------------------------
def guessed(x_lead):
    center = x_lead
    return (center,)


def deviations(x, center):
    d = x - center
    square = d * d
    return d, square


def recentered(total_d, total_square, center, share, four):
    """The mean, needed if `center` is off it by more than two deviations."""
    rest = total_d * share
    mean = center + rest
    far = rest * rest - four * (total_square * share - rest * rest)
    return mean, far


def moments_of(total_d, total_square, share, eps, zero, one):
    rest = total_d * share
    square = total_square * share
    # not so where squares overflow: rest * rest may, too, and inf - inf is none of both
    var = where(square - square >= zero, maximum(square - rest * rest, zero), square)
    inv_std = one / sqrt(var + eps)
    return rest, inv_std


def normalized(x, center, rest, inv_std):
    xhat = ((x - center) - rest) * inv_std
    return (xhat,)


def affine(xhat, gamma, beta):
    z = xhat * gamma + beta
    return (z,)


# --- RMS norm, forward ----------------------------------------------------------------------------
def squared(x):
    square = x * x
    return (square,)


def inv_rms_of(total_square, share, eps, one):
    inv_rms = one / sqrt(total_square * share + eps)
    return (inv_rms,)


def divided(x, inv_rms):
    xhat = x * inv_rms
    return (xhat,)


def scaled(xhat, gamma):
    z = xhat * gamma
    return (z,)


# --- before and after both ------------------------------------------------------------------------
def joined(branch, residual):
    x = branch + residual
    return (x,)


def plain(z):
    y = z
    return (y,)


# --- backward -------------------------------------------------------------------------------------
def passed(dy):
    dz = dy
    return (dz,)


def weighed(dz, gamma):
    g = dz * gamma
    return (g,)


def products(g, xhat):
    product = g * xhat
    return g, product


def means_of(total_g, total_product, share):
    mean_g = total_g * share
    mean_product = total_product * share
    return mean_g, mean_product


def layer_gradient(g, xhat, mean_g, mean_product, inv_std):
    dx = inv_std * ((g - mean_g) - xhat * mean_product)
    return (dx,)


def product_alone(g, xhat):
    product = g * xhat
    return (product,)


def mean_of(total_product, share):
    mean_product = total_product * share
    return (mean_product,)


def rms_gradient(g, xhat, mean_product, inv_rms):
    dx = inv_rms * (g - xhat * mean_product)
    return (dx,)


def result(dx):
    return (dx,)


def result_and_affine(dx, dz, xhat):
    dgamma = dz * xhat
    dbeta = dz
    return dx, dgamma, dbeta


def result_and_scale(dx, dz, xhat):
    dgamma = dz * xhat
    return dx, dgamma
